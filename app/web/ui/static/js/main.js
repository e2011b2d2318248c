// The dashboard works without JavaScript. These modules add what needs it.
import { startCharts } from "./charts.js";
import { startClock } from "./clock.js";
import { startCopy } from "./copy.js";
import { startKeyboard } from "./keyboard.js";
import { startLive } from "./live.js";
import { startLoading } from "./loading.js";
import { startLog } from "./log.js";
import { startRows } from "./rows.js";
import { startTimeControl } from "./time.js";

startRows();
startClock();
startTimeControl();
startKeyboard();
startLog();
startCopy();
startCharts();
startLoading();
startLive();
