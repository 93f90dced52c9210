"""Stand-ins for Slicer's MRML widgets over a real MRML scene."""

from __future__ import annotations

import weakref
from typing import ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtWidgets


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows its scene and tells those inside."""

    _scene_changed = QtCore.Signal(object)
    python_signals: ClassVar = {"mrmlSceneChanged(vtkMRMLScene*)": "_scene_changed"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        self._scene = scene
        self._scene_changed.emit(scene)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of some types; can make one. It does not rename, delete or edit nodes."""

    # All there are, for `standins.uninstall`.
    living: ClassVar[weakref.WeakSet] = weakref.WeakSet()
    _node_changed = QtCore.Signal(object)
    _id_changed = QtCore.Signal(str)
    _added_by_user = QtCore.Signal(object)
    python_signals: ClassVar = {
        "currentNodeChanged(vtkMRMLNode*)": "_node_changed",
        "currentNodeIDChanged(QString)": "_id_changed",
        "nodeAddedByUser(vtkMRMLNode*)": "_added_by_user",
    }

    @property
    def currentNodeChanged(self) -> QtCore.SignalInstance:
        return self._node_changed

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene, self._tags = None, []
        self.living.add(self)
        self._node_id = ""
        self._flags = {"none": False, "add": True, "remove": True, "rename": False, "hidden": False}
        self._flags |= {"children": True, "select": True}
        self._types: list[str] = []
        self._texts = {"none": "None", "base": ""}
        self._box = QtWidgets.QComboBox()
        self._box.setSizeAdjustPolicy(
            QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._box.activated.connect(self._activated)

    # Nodes

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        self.stopListening()
        self._scene = scene
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._tags = [scene.AddObserver(event, lambda *_: self._refresh()) for event in events]
        self._refresh()

    def stopListening(self) -> None:
        """Hear of the scene no more; the real one does when it is deleted."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags = []

    def nodes(self) -> list[slicer.vtkMRMLNode]:
        found = []
        for kind in self._types if self._scene is not None else []:
            for node in slicer.util.getNodesByClass(kind, self._scene):
                exact = self._flags["children"] or node.GetClassName() == kind
                if exact and (self._flags["hidden"] or not node.GetHideFromEditors()) and node not in found:
                    found.append(node)
        return found

    def nodeCount(self) -> int:
        return len(self.nodes())

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self._scene.GetNodeByID(self._node_id) if self._scene is not None and self._node_id else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self._choose(node.GetID() if node in self.nodes() else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        self._choose(node_id or "")

    def addNode(self) -> slicer.vtkMRMLNode:
        """What the item "Create new ..." does."""
        name = self._scene.GenerateUniqueName(self._texts["base"] or self._types[0].removeprefix("vtkMRML"))
        node = self._scene.AddNewNodeByClass(self._types[0], name)
        if self._flags["select"]:
            self.setCurrentNode(node)
        self._added_by_user.emit(node)
        return node

    def _choose(self, node_id: str) -> None:
        if not node_id and not self._flags["none"] and self.nodes():
            node_id = self.nodes()[0].GetID()
        changed, self._node_id = node_id != self._node_id, node_id
        self._fill()
        if changed:
            self._id_changed.emit(node_id)
            self._node_changed.emit(self.currentNode())

    def _refresh(self) -> None:
        ids = [node.GetID() for node in self.nodes()]
        self._choose(self._node_id if self._node_id in ids else "")

    def _fill(self) -> None:
        self._box.clear()
        if self._flags["none"]:
            self._box.addItem(self._texts["none"], "")
        for node in self.nodes():
            self._box.addItem(node.GetName(), node.GetID())
        if self._flags["add"] and self._types:
            kind = vtk.vtkObject if self._scene is None else self._scene.CreateNodeByClass(self._types[0])
            tag = kind.GetNodeTagName() if self._scene is not None else ""
            if self._scene is not None:
                kind.UnRegister(None)
            self._box.addItem(f"Create new {tag}", "add")
        self._box.setCurrentIndex(self._box.findData(self._node_id))

    def _activated(self, index: int) -> None:
        chosen = self._box.itemData(index)
        if chosen == "add":
            self.addNode()
        else:
            self._choose(chosen)

    # Properties

    def _flag(name: str):
        def read(self) -> bool:
            return self._flags[name]

        def write(self, value: bool) -> None:
            self._flags[name] = value
            self._fill()

        return QtCore.Property(bool, read, write)

    def _text(name: str):
        def read(self) -> str:
            return self._texts[name]

        def write(self, value: str) -> None:
            self._texts[name] = value
            self._fill()

        return QtCore.Property(str, read, write)

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._fill()

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _set_types)
    currentNodeID = QtCore.Property(str, lambda self: self._node_id, setCurrentNodeID)
    noneEnabled, addEnabled, removeEnabled = _flag("none"), _flag("add"), _flag("remove")
    renameEnabled, showHidden, showChildNodeTypes = _flag("rename"), _flag("hidden"), _flag("children")
    selectNodeUponCreation = _flag("select")
    noneDisplay, baseName = _text("none"), _text("base")
