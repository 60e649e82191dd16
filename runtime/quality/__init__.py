"""Quality of models on retrieval, bitext and similarity tasks: the engine behind `embed eval`.

Needs the extra `eval`. Tasks are read lazily, vectors are kept on disk between runs, and every
figure comes with what is needed to compare it fairly: the same resamples for every configuration.
"""
