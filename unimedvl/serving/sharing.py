"""A port that several processes take connections from: the one that has the fewest takes the next."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress

from unimedvl.serving.run import Server

logger = logging.getLogger(__name__)

# Seconds that a process leaves a new connection to the others for each one that it has, and at most: each process takes
# 200 connections a second, or more.
_LEFT, _LONGEST = 0.0002, 0.005
# Seconds to rest when the system has no room for a connection, such as for want of file descriptors.
_REST = 1.0


class SharingServer(Server):
    """A server on a listening socket that other processes listen on too.

    asyncio's own way takes all that wait at one go: whichever process wakes first would have them all.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self._taking = [asyncio.create_task(self._take(listening)) for listening in sockets or []]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._taking:
            task.cancel()
        await super().shutdown(sockets)

    async def _take(self, listening: socket.socket) -> None:
        loop, begun = asyncio.get_running_loop(), set()
        listening.setblocking(False)
        while True:
            await _readable(listening)
            await asyncio.sleep(min(_LONGEST, _LEFT * len(self.server_state.connections)))
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):  # another process was there first, or its client left
                continue
            except OSError as error:
                logger.error("no connection can be taken: %s", error)
                await asyncio.sleep(_REST)
                continue
            connection.setblocking(False)
            task = loop.create_task(self._open(connection))
            begun.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(begun.discard)

    async def _open(self, connection: socket.socket) -> None:
        with suppress(OSError):  # what is wrong with a TLS handshake is the client's matter
            await asyncio.get_running_loop().connect_accepted_socket(self._made, connection, ssl=self.config.ssl)

    def _made(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


async def _readable(listening: socket.socket) -> None:
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listening, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(listening)
