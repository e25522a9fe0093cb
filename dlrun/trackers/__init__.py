"""Where else the rows of metrics.csv go: TensorBoard, MLflow, Weights & Biases; offline, and after the CSV."""
