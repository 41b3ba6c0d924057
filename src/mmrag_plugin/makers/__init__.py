"""New media out of found ones: clips, supercuts, GIFs, sheets, slideshows, generated pictures."""
