// Draws charts from the tables beside them; see the macro `chart`.
export const startCharts = () => {};
