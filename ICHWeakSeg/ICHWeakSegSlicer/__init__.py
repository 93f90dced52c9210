"""The Slicer side of ICHWeakSeg: between MRML nodes and `ICHWeakSegLib`. No Qt at file scope."""
