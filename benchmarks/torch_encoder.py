"""The same model in plain PyTorch: the peer that `speed.py` times, not a part of the product.

Reads the checkpoint's tensors under their real names; needs `pip install torch==2.13.0`.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from embedge.models.checkpoint import open_checkpoint, tensor_shapes


class TorchEncoder:
    """Nomic Embed v2 MoE in torch eager mode; only the chosen experts are computed."""

    def __init__(self, checkpoint: Path, dtype: torch.dtype = torch.float32) -> None:
        source = open_checkpoint(checkpoint)
        self.config = source.config
        self.dtype = dtype
        self.weight = {
            name: torch.from_numpy(np.array(source.tensor(name))).to(dtype)
            for name in tensor_shapes(source.config)
        }
        width = self.config.hidden // self.config.heads
        base = self.config.rotary_base or 1.0  # unused with learned positions
        inverse = base ** (-torch.arange(0, width, 2).float() / width)
        angle = torch.outer(torch.arange(self.config.positions).float(), inverse)
        self.cos = torch.cat([angle.cos()] * 2, -1).to(dtype)
        self.sin = torch.cat([angle.sin()] * 2, -1).to(dtype)

    @torch.inference_mode()
    def run(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Embed (texts, tokens) ids; returns unit vectors (texts, hidden), float32."""
        weight = self.weight
        keep = torch.from_numpy(mask).bool()
        x = weight["embeddings.word_embeddings.weight"][torch.from_numpy(ids)]
        x = x + weight["embeddings.token_type_embeddings.weight"][0]
        if self.config.rotary_base is None:
            x = x + weight["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(x, "emb_ln")
        for layer in range(self.config.layers):
            prefix = f"encoder.layers.{layer}."
            x = self._norm(self._attention(x, keep, prefix + "attn.") + x, prefix + "norm1")
            mlp = self._experts if self.config.is_moe(layer) else self._dense
            x = self._norm(mlp(x, prefix + "mlp.") + x, prefix + "norm2")
        kept = keep.unsqueeze(-1).to(self.dtype)
        pooled = (x * kept).sum(1) / kept.sum(1)
        return F.normalize(pooled.float(), dim=-1).numpy()

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.weight[name + ".weight"], self.weight[name + ".bias"]
        return F.layer_norm(x, (self.config.hidden,), weight, bias, self.config.epsilon)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.weight[name + ".weight"], self.weight[name + ".bias"])

    def _attention(self, x: torch.Tensor, keep: torch.Tensor, name: str) -> torch.Tensor:
        texts, tokens, hidden = x.shape
        heads = self.config.heads
        qkv = self._linear(x, name + "Wqkv").view(texts, tokens, 3, heads, hidden // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.config.rotary_base is not None:
            q, k = self._rotate(q), self._rotate(k)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None, :])
        return self._linear(attended.transpose(1, 2).reshape(x.shape), name + "out_proj")

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), -1)
        return x * self.cos[: x.shape[2]] + turned * self.sin[: x.shape[2]]

    def _dense(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return self._linear(F.gelu(self._linear(x, name + "fc1")), name + "fc2")

    def _experts(self, x: torch.Tensor, name: str) -> torch.Tensor:
        hidden, experts = self.config.hidden, self.config.experts
        flat = x.reshape(-1, hidden)
        logits = flat.float() @ self.weight[name + "router.layer.weight"].float().T
        gate, chosen = logits.softmax(-1).topk(self.config.experts_per_token, -1)
        w1 = self.weight[name + "experts.mlp.w1"].view(experts, -1, hidden)
        w2 = self.weight[name + "experts.mlp.w2"].view(experts, -1, hidden)
        out = torch.zeros_like(flat)
        for expert in range(experts):
            token, rank = torch.where(chosen == expert)
            if token.numel():
                y = F.gelu(flat[token] @ w1[expert].T) @ w2[expert]
                out.index_add_(0, token, y * gate[token, rank, None].to(self.dtype))
        return (out + self.weight[name + "experts.bias"]).view_as(x)
