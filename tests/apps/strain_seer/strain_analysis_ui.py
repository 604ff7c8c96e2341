"""Where the picture at hand is kept, and the parts of the page."""

import os

import streamlit as st

# Made when the module is imported; one file for all visitors.
TEMP_DIR = os.path.expanduser("~/tmp")
TEMP_IMAGE_PATH = os.path.join(TEMP_DIR, "temp_image.jpg")
os.makedirs(TEMP_DIR, exist_ok=True)


def setup_page_config():
    """Title and width of the page."""
    st.set_page_config(page_title="Strain Seer - stand-in", layout="wide")


def show_picture(uploaded):
    """Keep an uploaded picture where the annotation reads it, and show it."""
    with open(TEMP_IMAGE_PATH, "wb") as stream:
        stream.write(uploaded.getvalue())
    st.image(TEMP_IMAGE_PATH)


def cleanup_temp_files():
    """Remove the picture at hand."""
    if os.path.exists(TEMP_IMAGE_PATH):
        os.remove(TEMP_IMAGE_PATH)
