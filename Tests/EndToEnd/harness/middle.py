"""A server between a client and another server that changes single answers on their way."""

import concurrent.futures
import contextlib

import grpc

from .api import SERVICES, message_class
from .server import free_port


@contextlib.contextmanager
def changed(server, **changes):
    """The address of one that passes calls on to `server`, and gives `changes[method](request, answer)` the answers.

    Calls of one answer only, and the stream that renews leases, each of whose requests has one.
    """
    with contextlib.ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(server.address))
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(64))
        middle = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        for name in ("KV", "Lease", "Maintenance"):
            service = SERVICES[f"etcdserverpb.{name}"]
            handlers = {
                method.name: _handler(channel, service, method, changes.get(method.name)) for method in service.methods
            }
            middle.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.full_name, handlers)])
        port = middle.add_insecure_port(f"127.0.0.1:{free_port()}")
        middle.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            middle.stop(0).wait()


def _handler(channel, service, method, change):
    path = f"/{service.full_name}/{method.name}"
    request_class, answer_class = message_class(method.input_type), message_class(method.output_type)
    coding = {"request_serializer": None, "response_deserializer": None}
    if method.name == "LeaseKeepAlive":
        call = channel.stream_stream(path, **coding)
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: call(requests, timeout=600))
    call = channel.unary_unary(path, **coding)

    def answer(request, context):
        try:
            whole = call(request, timeout=60)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        if change is None:
            return whole
        message = answer_class.FromString(whole)
        change(request_class.FromString(request), message)
        return message.SerializeToString()

    return grpc.unary_unary_rpc_method_handler(answer)
