import { AppError } from '#src/domain/errors.js';

export interface Transfers {
  /** Takes a place; rejects with `too-many-transfers`. What it answers gives the place back, once. */
  begin(userId: string): () => void;
}

export interface TransferLimits {
  perUser: number;
  /** Of this process. Each may hold a few megabytes. */
  inAll: number;
}

const LIMITS: TransferLimits = { perUser: 4, inAll: 64 };
const RETRY_AFTER_S = 5;

/** How many files move through this process at once, up and down. */
export function createTransfers({ perUser, inAll }: TransferLimits = LIMITS): Transfers {
  /** An entry leaves with the user's last transfer. */
  const ofUser = new Map<string, number>();
  let all = 0;
  return {
    begin(userId) {
      const mine = ofUser.get(userId) ?? 0;
      if (mine >= perUser || all >= inAll) {
        const detail = mine >= perUser ? `${perUser} of your files are being moved already` : undefined;
        throw new AppError('too-many-transfers', {
          retryAfterS: RETRY_AFTER_S,
          ...(detail !== undefined && { detail }),
        });
      }
      all += 1;
      ofUser.set(userId, mine + 1);
      let isOver = false;
      return () => {
        if (isOver) return;
        isOver = true;
        all -= 1;
        const left = (ofUser.get(userId) ?? 1) - 1;
        if (left === 0) ofUser.delete(userId);
        else ofUser.set(userId, left);
      };
    },
  };
}
