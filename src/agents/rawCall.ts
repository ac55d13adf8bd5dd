import { status, type Client, type Metadata, type StatusObject } from '@grpc/grpc-js';
import type { AppError } from '#src/domain/errors.js';
import type { CallScope } from './callScope.js';
import type { AgentAddress } from './gateway.js';

/** A call of any kind whose messages are bytes that nobody here looks into: for whoever passes them on. */
export interface RawCallSpec {
  agent: AgentAddress;
  /** As on the wire: `/agent.AgentService/Ping`. */
  path: string;
  /** Sent as it is, but for `authorization`, which is set to the agent's token or taken away. */
  metadata: Metadata;
  /** Milliseconds since the epoch. */
  deadline: number;
  signal: AbortSignal;
}

export interface RawCallListener {
  onMetadata(metadata: Metadata): void;
  /** One for each `startRead`. */
  onMessage(message: Buffer): void;
  /** Once, and last: what the agent says, or why we ended the call ourselves. */
  onEnd(end: StatusObject | AppError): void;
}

export interface RawCall {
  startRead(): void;
  /** `taken` is called when the connection has taken the message, and never when the call is over. */
  send(message: Buffer, taken: () => void): void;
  halfClose(): void;
}

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
