"""An experiment: does guided extrapolation repair a training set with rare values?"""
