"""The two web applications: the API, and the files on another origin. Each request goes the same way.

    note it -> take the fault ordered for it -> carry it out -> bend the answer -> deliver

A fault that could not happen (the request was refused anyway) goes back into the queue.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from aiohttp import web

from .delivery import Delivery
from .fault_queue import ANYWHERE, FaultQueue, OrderedFault, Where
from .faults import Fault, Outcome, PixelSize
from .gallery import Gallery
from .openapi import describe
from .page import as_html
from .replies import NOT_FOUND, Refusal, RefusedError, Reply, refuse_parameter, success
from .request_log import RequestLog
from .service import Service
from .uploads import ACCEPTED_FORMATS, UploadLimits, decode_upload, read_multipart

MAX_BODY_BYTES = 64 * 1024 * 1024
_HTTP_OK = 200

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Impossible(Exception):  # noqa: N818 - not an error: the ordered fault does not fit this request
    """The fault cannot happen to this request."""


class Applications:
    """Makes the two applications over what they share: the service, the faults, the log, the worker threads."""

    def __init__(  # noqa: PLR0913 - the parts are made by the emulator and only gathered here
        self,
        *,
        service: Service,
        faults: FaultQueue,
        log: RequestLog,
        gallery: Gallery,
        workers: Executor,
        limits: UploadLimits,
        stopping: asyncio.Event,
    ) -> None:
        self.service, self.faults, self.log, self.gallery = service, faults, log, gallery
        self._workers, self._limits, self._stopping = workers, limits, stopping

    def api(self) -> web.Application:
        """Make the application that stands for openapi.weshop.ai."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/openapi/agent/assets/images", self._route("upload", self._upload))
        app.router.add_post("/openapi/agent/runs", self._route("submit", self._submit))
        app.router.add_get("/openapi/agent/runs/{execution_id}", self._route("poll", self._poll), allow_head=False)
        app.router.add_post("/openapi/agent/power-estimates", self._route("estimate", self._estimate))
        app.router.add_get("/openapi/v1/agent/info", self._route("info", self._info), allow_head=False)
        app.router.add_get("/openapi/agent/openapi.yaml", self._route("other", self._description), allow_head=False)
        app.router.add_get("/", self._route("other", self._page), allow_head=False)
        app.router.add_route("*", "/{path:.*}", self._route("other", self._nothing))
        return app

    def files(self) -> web.Application:
        """Make the application that stands for the hosts of uploaded and generated pictures."""
        app = web.Application()
        result = "/results/{execution_id}/{number:[0-9]+}_{token:[0-9a-f]+}_{rest}"
        app.router.add_get(result, self._route("download", self._result, "files"), allow_head=False)
        app.router.add_get("/uploads/{name}", self._route("other", self._uploaded, "files"), allow_head=False)
        app.router.add_route("*", "/{path:.*}", self._route("other", self._nothing, "files"))
        return app

    def _route(
        self,
        operation: str,
        carry_out: Callable[[web.Request, bytes, Fault | None], Awaitable[Reply]],
        origin: str = "api",
    ) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            headers = tuple((name, value) for name, value in request.headers.items())
            number = self.log.open(operation, origin, request.method, request.path_qs, headers)
            delivery = Delivery(self._stopping, partial(self.log.close, number))
            order = self.faults.take(operation, self._situation(operation, request))
            if order is not None and order.fault.unread:
                return await delivery.send(request, None, order.fault)
            reply, fault = await self._answer(request, number, order, carry_out)
            return await delivery.send(request, reply, fault)

        return handle

    async def _answer(
        self,
        request: web.Request,
        number: int,
        order: OrderedFault | None,
        carry_out: Callable[[web.Request, bytes, Fault | None], Awaitable[Reply]],
    ) -> tuple[Reply | None, Fault | None]:
        """Return what is to be answered, and the fault that really happens (one that cannot is given back)."""
        fault = None if order is None else order.fault
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            body = b""
            carry_out = self._too_large
        self.log.read(number, body)
        if fault is not None and not fault.accepted:
            return fault.reply(None), fault
        try:
            reply = await carry_out(request, body, fault)
        except _Impossible as impossible:
            reply, fault = impossible.args[0], None
        except RefusedError as refused:
            reply = refused.refusal.as_reply()
        if fault is not None and fault.needs_success and not reply.is_success:
            fault = None
        if fault is not None and reply.is_success:
            reply, fault = _bend(reply, fault)
        if fault is None and order is not None:
            self.faults.give_back(order)
        return (reply if fault is None else fault.reply(reply)), fault

    def _situation(self, operation: str, request: web.Request) -> Where:
        match = request.match_info
        if operation == "poll":
            return self.service.situation_of_poll(match["execution_id"])
        if operation == "download":
            return self.service.situation_of_download(match["execution_id"], int(match["number"]))
        return ANYWHERE

    # The API ---------------------------------------------------------------------------------------------------

    async def _upload(self, request: web.Request, body: bytes, _fault: Fault | None) -> Reply:
        self._check_key(request)
        part = read_multipart(request.headers.get("Content-Type", ""), body)
        picture = await self._in_worker(partial(decode_upload, part.data, self._limits))
        return self.service.upload(part, picture)

    async def _submit(self, request: web.Request, body: bytes, fault: Fault | None) -> Reply:
        self._check_key(request)
        outcome = fault if isinstance(fault, Outcome) else None
        key = request.headers.get("Idempotency-Key")
        reply, fits = self.service.submit(_read_json(request, body), key, outcome)
        if outcome is not None and not fits:
            raise _Impossible(reply)
        return reply

    async def _estimate(self, request: web.Request, body: bytes, _fault: Fault | None) -> Reply:
        self._check_key(request)
        return self.service.estimate(_read_json(request, body))

    async def _poll(self, request: web.Request, _body: bytes, _fault: Fault | None) -> Reply:
        self._check_key(request)
        return self.service.poll(request.match_info["execution_id"])

    async def _info(self, request: web.Request, _body: bytes, _fault: Fault | None) -> Reply:
        self._check_key(request)
        missing = [name for name in ("agentName", "agentVersion") if not request.query.get(name)]
        if missing:
            raise refuse_parameter(f"{' and '.join(missing)} must be given")
        return success({"locations": [], "fashionModels": [], "backgrounds": []})

    async def _description(self, _request: web.Request, _body: bytes, _fault: Fault | None) -> Reply:
        return Reply(_HTTP_OK, describe().encode(), "application/yaml")

    async def _page(self, _request: web.Request, _body: bytes, _fault: Fault | None) -> Reply:
        return Reply(_HTTP_OK, as_html().encode(), "text/html")

    async def _nothing(self, request: web.Request, _body: bytes, _fault: Fault | None) -> Reply:
        raise RefusedError(Refusal(404, NOT_FOUND, f"{request.method} {request.path} is not emulated"))

    async def _too_large(self, _request: web.Request, _body: bytes, _fault: Fault | None) -> Reply:
        raise refuse_parameter("the body of the request is too large", 413)

    # The files -------------------------------------------------------------------------------------------------

    async def _result(self, request: web.Request, _body: bytes, fault: Fault | None) -> Reply:
        match = request.match_info
        order = self.service.picture_order(match["execution_id"], int(match["number"]), match["token"])
        size = (fault.width, fault.height) if isinstance(fault, PixelSize) else None
        body = await self.gallery.picture(order, size)
        return Reply(_HTTP_OK, body, f"image/{order.generation.output_format}")

    async def _uploaded(self, request: web.Request, _body: bytes, _fault: Fault | None) -> Reply:
        record = self.service.uploaded_file(request.path)
        if record is None:
            raise RefusedError(Refusal(404, NOT_FOUND, "no such file"))
        if record.is_expired:
            raise RefusedError(Refusal(403, NOT_FOUND, "the link has expired"))
        subtype = "jpeg" if record.picture_format == "JPEG" else ACCEPTED_FORMATS[record.picture_format]
        return Reply(_HTTP_OK, record.data, f"image/{subtype}")

    def _check_key(self, request: web.Request) -> None:
        self.service.check_key(request.headers.get("Authorization"))

    async def _in_worker(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - as run_in_executor has it
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)


def _bend(reply: Reply, fault: Fault) -> tuple[Reply, Fault | None]:
    if reply.content_type != "application/json":
        return reply, fault
    document = json.loads(reply.body)
    if not fault.reshape(document):
        return reply, None
    return Reply(reply.status, json.dumps(document).encode(), reply.content_type, reply.headers), fault


def _read_json(request: web.Request, body: bytes) -> object:
    if request.content_type != "application/json":
        raise refuse_parameter("the Content-Type must be application/json", 400)
    try:
        document: object = json.loads(body)
    except ValueError as error:
        raise refuse_parameter("the body is not JSON", 400) from error
    return document
