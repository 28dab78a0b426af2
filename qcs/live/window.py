"""Show annotated frames in a window."""

from __future__ import annotations

from typing import Any

from qcs.errors import InputError
from qcs.faces import Faces


class Window:
    """A window that shows the faces of each frame; Escape, q or closing it ends.

    It uses Tk, which comes with Python: the headless build of OpenCV has no windows.

    Attributes:
        closed: Whether the user has closed it.

    Raises:
        InputError: If there is no Tk or no screen.
    """

    def __init__(self, title: str = "qcs") -> None:
        try:
            import tkinter
        except ImportError as error:
            raise InputError(
                "a window needs Tk; install it (python3-tk on Debian), or give --annotate FOLDER for a file"
            ) from error
        try:
            self._root: Any = tkinter.Tk()
        except tkinter.TclError as error:
            raise InputError(f"no window can be opened: {error}; give --annotate FOLDER for a file") from error
        self.closed = False
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _: self.close())
        self._label: Any = tkinter.Label(self._root)
        self._label.pack()

    def show(self, faces: Faces) -> None:
        """Show a frame with its faces marked."""
        if self.closed:
            return
        from PIL import ImageTk

        self._shown = ImageTk.PhotoImage(faces.annotated(), master=self._root)  # Tk keeps no reference
        self._label.configure(image=self._shown)
        self._root.update()

    def close(self) -> None:
        """Close the window."""
        if not self.closed:
            self.closed = True
            self._root.destroy()
