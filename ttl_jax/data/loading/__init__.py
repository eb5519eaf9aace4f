"""Batches of crops for training and evaluation."""
