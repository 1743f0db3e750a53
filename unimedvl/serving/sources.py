"""Images that come with a request: data URLs, files beside it, and URLs of hosts that are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unimedvl.imaging import Image, ReadOptions
from unimedvl.serving.bodies import Upload
from unimedvl.serving.errors import ApiError, wrong
from unimedvl.serving.service import Service
from unimedvl.serving.trace import Trace
from unimedvl.serving.uploads import from_data_url, read_upload

if TYPE_CHECKING:
    from unimedvl.imaging import Image

ATTACHMENT = "attachment://"


class Sources:
    """The images of one request, which are counted. Its methods take their time: call them in a thread."""

    def __init__(self, service: Service, trace: Trace, uploads: Sequence[Upload] = ()) -> None:
        self.service, self.trace, self.uploads = service, trace, uploads
        self.read: list[Image] = []

    def upload(self, upload: Upload, options: ReadOptions | None = None) -> Image:
        """A file that came with a form. Raises Refused."""
        self._count()
        limits, decoders = self.service.limits, self.service.decoders
        declared = upload.declared
        return self._note(
            read_upload(upload.data, upload.name, limits, options, decoders=decoders, declared=declared)
        )

    def url(self, url: str, param: str, options: ReadOptions | None = None) -> Image:
        """The image of a data URL, of a file that came beside, or of a host that is allowed.

        param: the field that holds the URL.

        Raises:
            Refused: it can't be read. ApiError: no such file, or a URL that is not fetched.
        """
        if url.startswith(ATTACHMENT):
            return self.upload(self._attached(url.removeprefix(ATTACHMENT), param), options)
        if url[:8].lower().startswith(("http://", "https://")):
            return self._fetched(url, param, options)
        self._count()
        limits, decoders = self.service.limits, self.service.decoders
        return self._note(from_data_url(url, limits, options, name=param, decoders=decoders))

    def _attached(self, name: str, param: str) -> Upload:
        found = [u for u in self.uploads if name in (u.name, u.field)]
        if len(found) != 1:
            what = "several files of that name came" if found else "no file of that name came"
            raise wrong(param, f"{what} with the form", code="no_attachment")
        return found[0]

    def _fetched(self, url: str, param: str, options: ReadOptions | None) -> Image:
        allowed = self.service.settings.fetch
        if not allowed:
            raise wrong(param, "URLs are not fetched here; send the image as data:image/png;base64,...")
        from unimedvl.serving.fetch import fetch

        self._count()
        data = fetch(url, allowed, most=self.service.limits.file_bytes)
        return self.upload(Upload(param, url.rsplit("/", 1)[-1], data, ""), options)

    def _count(self) -> None:
        most = self.service.limits.images
        if len(self.read) >= most:
            raise ApiError(413, f"there are more than {most} images, which is the most", code="too_many_images")

    def _note(self, image: Image) -> Image:
        self.read.append(image)
        most = self.service.limits.request_pixels
        if sum(one.width * one.height for one in self.read) > most:
            problem = f"the images have more than {most / 1e6:.4g} megapixels together, which is the most"
            raise ApiError(413, problem, code="too_many_pixels")
        self.trace.took([image])
        return image
