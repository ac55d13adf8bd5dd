import { AppError } from '#src/domain/errors.js';

export interface PlaceLimits {
  perUser: number;
  /** Of this process. Each call may hold one message either way. */
  inAll: number;
}

/** How many calls this process relays at once. Both reject with `rate-limited`; what they answer gives the place back. */
export interface Places {
  /** For a call that has arrived, whoever sends it. */
  take(): () => void;
  takeFor(userId: string): () => void;
}

const RETRY_AFTER_S = 5;

export function createPlaces({ perUser, inAll }: PlaceLimits): Places {
  /** An entry leaves with the user's last call. */
  const ofUser = new Map<string, number>();
  let all = 0;
  return {
    take() {
      if (all >= inAll) throw full('Too many calls are under way');
      all += 1;
      return () => (all -= 1);
    },
    takeFor(userId) {
      const mine = ofUser.get(userId) ?? 0;
      if (mine >= perUser) throw full(`${perUser} of your calls are under way already`);
      ofUser.set(userId, mine + 1);
      return () => {
        const left = (ofUser.get(userId) ?? 1) - 1;
        if (left === 0) ofUser.delete(userId);
        else ofUser.set(userId, left);
      };
    },
  };
}

function full(detail: string): AppError {
  return new AppError('rate-limited', { detail, retryAfterS: RETRY_AFTER_S });
}
