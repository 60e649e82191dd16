"""How the bundled model is made: teacher, vocabulary, up-cycling, distillation, checkpoint.

Run as `python -m embedge.models.recipes STEP`; needs the extra `train`. Nothing else of the
package imports this folder.
"""
