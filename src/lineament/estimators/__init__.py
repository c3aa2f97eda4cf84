"""Estimators over arrays; they never see a network."""
