"""Distances and similarities of vectors."""

from lucidfn import nn

from .table import F, FunctionCase

ff = nn.functional

CASES = [
    FunctionCase("cosine_similarity", ff.cosine_similarity, (F(4, 3), F(4, 3)),
                 lambda T, x, y: T.nn.functional.cosine_similarity(x, y, dim=-1)),
    FunctionCase("cosine_similarity", lambda x, y: ff.cosine_similarity(x, y, axis=1),
                 (F(4, 3, 2), F(3, 2)),
                 lambda T, x, y: T.nn.functional.cosine_similarity(x, y, dim=1),
                 id="cosine_similarity(axis=1)"),
    # PyTorch differentiates short vectors as if eps had not lengthened them.
    FunctionCase("cosine_similarity", lambda x, y: ff.cosine_similarity(x, y, eps=9.0),
                 (F(4, 3), F(4, 3)), id="cosine_similarity(short)"),
    *[FunctionCase("pairwise_distance", lambda x, y, p=p: ff.pairwise_distance(x, y, p=p),
                   (F(4, 3), F(4, 3)),
                   lambda T, x, y, p=p: T.nn.functional.pairwise_distance(x, y, p=p),
                   id=f"pairwise_distance(p={p})") for p in (2.0, 1.0, 3.5, float("inf"))],
    FunctionCase("pairwise_distance", lambda x, y: ff.pairwise_distance(x, y, keepdim=True),
                 (F(4, 3), F(3)),
                 lambda T, x, y: T.nn.functional.pairwise_distance(x, y, keepdim=True),
                 id="pairwise_distance(keepdim)"),
    *[FunctionCase("cdist", lambda x, y, p=p: ff.cdist(x, y, p), (F(2, 4, 3), F(2, 5, 3)),
                   lambda T, x, y, p=p: T.cdist(x, y, p, "donot_use_mm_for_euclid_dist"),
                   order=1, id=f"cdist(p={p})")
      for p in (2.0, 1.0, 3.0, float("inf"))],
    *[FunctionCase("pdist", lambda x, p=p: ff.pdist(x, p), (F(5, 3),),
                   lambda T, x, p=p: T.nn.functional.pdist(x, p), id=f"pdist(p={p})")
      for p in (2.0, 1.5)],
]
