// The dashboard works without JavaScript. These modules add what needs it.
import { startCharts } from "./charts.js";
import { startClock } from "./clock.js";
import { startCopy } from "./copy.js";
import { startKeyboard } from "./keyboard.js";
import { startLive } from "./live.js";
import { startLog } from "./log.js";
import { startTimeControl } from "./time.js";

startClock();
startTimeControl();
startKeyboard();
startLog();
startCopy();
startCharts();
startLive();
