"""What the worked examples are about, drawn here so that nothing has to be downloaded."""
