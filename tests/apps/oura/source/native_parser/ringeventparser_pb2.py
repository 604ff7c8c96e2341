# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The message that the stand-in's parser writes: a header, and the bytes of each event."""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_file = descriptor_pb2.FileDescriptorProto(name="ringeventparser.proto", package="standin", syntax="proto3")
_message = _file.message_type.add(name="RingData")
_message.field.add(name="header", number=1, type=12, label=1)
_message.field.add(name="event", number=2, type=12, label=3)
_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file)
RingData = message_factory.GetMessageClass(_pool.FindMessageTypeByName("standin.RingData"))
