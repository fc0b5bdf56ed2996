// Medians and how they are shown.

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))];
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function digits(value) {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

/** "1.23 (1.20–1.31) ms": the median of the runs, the least and the most. */
export function show(values, unit) {
  const range = values.length > 1 ? ` (${digits(Math.min(...values))}–${digits(Math.max(...values))})` : '';
  return `${digits(median(values))}${range} ${unit}`;
}

export function percent(part, whole) {
  const share = whole ? (100 * part) / whole : 0;
  return `${share === 100 || share === 0 ? share : share.toFixed(2)} %`;
}

export function times(value) {
  return `${value >= 10 ? value.toFixed(1) : value.toFixed(2)} ×`;
}
