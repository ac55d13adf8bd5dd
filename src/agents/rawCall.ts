import { status, type Client, type StatusObject } from '@grpc/grpc-js';
import type { CallScope } from './callScope.js';
import type { RawCall, RawCallListener, RawCallSpec } from './gateway.js';

/** Nothing is read before it is asked for. The scope's abort cancels the call; ending the scope is the caller's. */
export function startRawCall(
  client: Client,
  { agent, path, metadata, deadline }: RawCallSpec,
  scope: CallScope,
  listener: Omit<RawCallListener, 'onEnd'> & { onStatus: (status: StatusObject) => void },
): RawCall {
  const sent = metadata.clone();
  sent.remove('authorization');
  if (agent.token !== null) sent.set('authorization', `Bearer ${agent.token}`);
  // Below the surface of grpc-js, whose streams would read 16 messages ahead, of 10 MiB each.
  const call = client.getChannel().createCall(path, deadline, null, null, null);
  call.start(sent, {
    onReceiveMetadata: received => listener.onMetadata(received),
    onReceiveMessage: (message: Buffer) => listener.onMessage(message),
    onReceiveStatus: ended => listener.onStatus(ended),
  });
  scope.cancelBy(() => call.cancelWithStatus(status.CANCELLED, 'The caller hung up'));
  return {
    startRead: () => call.startRead(),
    send(message, taken) {
      const callback = (error?: Error | null): void => {
        if (!error) taken();
      };
      call.sendMessageWithContext({ callback }, message);
    },
    halfClose: () => call.halfClose(),
  };
}
