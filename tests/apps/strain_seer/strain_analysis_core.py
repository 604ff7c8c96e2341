"""Points of a picture to strain: plain arithmetic."""

import numpy as np


def normalize_points_by_scale(fiducial_points, scale_points, scale_length):
    """Points in the unit of `scale_length`; arrays of shape (5, 2) and (2, 2), the two scale points being that far apart."""
    fiducial_points, scale_points = np.asarray(fiducial_points, dtype=float), np.asarray(scale_points, dtype=float)
    if fiducial_points.shape != (5, 2) or scale_points.shape != (2, 2):
        raise ValueError("found %s and %s, needed five points and two" % (fiducial_points.shape, scale_points.shape))
    return (fiducial_points - scale_points[0]) * (scale_length / np.hypot(*(scale_points[1] - scale_points[0])))


def calculate_strain_tensor(original_points, deformed_points, center_index=4):
    """The small strain, an array of shape (2, 2), that takes the corners around one point to their new places."""
    original = np.delete(original_points - original_points[center_index], center_index, axis=0)
    deformed = np.delete(deformed_points - deformed_points[center_index], center_index, axis=0)
    gradient = np.linalg.lstsq(original, deformed, rcond=None)[0]
    return (gradient + gradient.T) / 2 - np.eye(2)
