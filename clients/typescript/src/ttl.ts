/** How long an answer stays true, by its prompt. */

import { normalized } from "./keys.js";

const WEEK_SECONDS = 7 * 24 * 3600;
const HOUR_SECONDS = 3600;

/** What a prompt says when its answer will soon be another one. */
export const TIME_SENSITIVE: readonly string[] = [
  "today",
  "tonight",
  "tomorrow",
  "yesterday",
  "now",
  "nowadays",
  "current",
  "currently",
  "latest",
  "newest",
  "recent",
  "recently",
  "upcoming",
  "up to date",
  "up-to-date",
  "at the moment",
  "these days",
  "so far",
  ...["this", "last", "next"].flatMap((which) =>
    ["morning", "afternoon", "evening", "night", "week", "weekend", "month", "quarter", "year"].map(
      (time) => `${which} ${time}`,
    ),
  ),
];

// Neither letter, digit nor underscore of any script stands beside the words. None of them has a character that a
// regular expression would take for more than itself.
const PATTERN = new RegExp(`(?<![\\p{L}\\p{N}_])(?:${TIME_SENSITIVE.join("|")})(?![\\p{L}\\p{N}_])`, "u");

/**
 * Seconds for which an answer to the prompt may be kept: an hour with a time-sensitive word in it, in any case and white
 * space, else 7 days.
 */
export function suggestTtl(prompt: string): number {
  return PATTERN.test(normalized(prompt)) ? HOUR_SECONDS : WEEK_SECONDS;
}
