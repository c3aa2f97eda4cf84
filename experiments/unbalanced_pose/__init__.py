"""An experiment: does guided extrapolation repair a lopsided training set?"""
