"""Strains of several pictures as a table and a line through them."""

import numpy as np
import numpy.testing  # noqa: F401  as SciPy does, which the stand-in lacks; it takes a module from a folder of tests
import pandas as pd


def create_strain_dataframe(distances, strains):
    """One row a picture: the distance in mm and the strain along x."""
    return pd.DataFrame({"Distance (mm)": [float(one) for one in distances], "Strain": [float(one) for one in strains]})


def calculate_regression(distances, strains):
    """Slope and intercept of the line through the points."""
    slope, intercept = np.polyfit(distances, strains, 1)
    return {"slope": float(slope), "intercept": float(intercept)}


def export_data(table):
    """The table as CSV."""
    return table.to_csv(index=False)
