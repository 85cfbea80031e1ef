"""Protein files to Parquet, Parquet to packed batches."""
