"""The page: a square that is pulled, as numbers, a plot and a table; and a picture."""

import numpy as np
import streamlit as st

from strain_analysis_core import calculate_strain_tensor, normalize_points_by_scale
from strain_analysis_data import calculate_regression, create_strain_dataframe, export_data
from strain_analysis_ui import cleanup_temp_files, setup_page_config, show_picture

setup_page_config()
st.title("Strain Seer, a stand-in")

square = normalize_points_by_scale([[0, 0], [100, 0], [100, 100], [0, 100], [50, 50]], [[0, 0], [50, 0]], 5.0)
distances = [0.0, 1.0, 2.0]
strains = [calculate_strain_tensor(square, square * np.array([1 + distance / 10, 1.0]))[0, 0] for distance in distances]
table = create_strain_dataframe(distances, strains)
st.metric("Slope", "%.3f" % calculate_regression(distances, strains)["slope"])
st.line_chart(table, x="Distance (mm)", y="Strain")
st.dataframe(table, hide_index=True)
st.download_button("Download (CSV)", export_data(table), file_name="strain.csv", mime="text/csv")

uploaded = st.file_uploader("Picture", type=["png", "jpg", "jpeg"])
if uploaded:
    show_picture(uploaded)
cleanup_temp_files()
