"""Files in the layouts of others, written from what is known of images; what a layout can't hold is counted."""
