"""Path 2: scored candidates become chosen/rejected pairs for DPO. Nothing here yet."""
