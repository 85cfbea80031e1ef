"""Studies: methods compared with equal care, and claims answered by paired tests."""
