// @ts-check
import { acks } from './acks.js';
import { copyButtons } from './copy.js';
import { decisions } from './decide.js';
import { dialogs } from './dialog.js';
import { follow } from './follow.js';
import { keys } from './keys.js';
import { live } from './live.js';
import { poll, printButtons } from './poll.js';
import { theme } from './switch.js';
import { times } from './time.js';
import { triage } from './triage.js';
import { start } from './widgets.js';

/**
 * Gives what was rendered by the server what only scripts can. It is called again for each part of a page that is replaced.
 * @param {ParentNode} root
 */
export function enhance(root) {
  times(root);
  copyButtons(root);
  printButtons(root);
  start(root);
}

enhance(document);
dialogs();
decisions(enhance);
theme();
keys();
live(enhance);
if (document.body.dataset.page === 'findings') triage(enhance);
follow();
acks();
poll();
