"""What a model is: config, checkpoint contract, encoder, manifest, bundle, bundled files."""
