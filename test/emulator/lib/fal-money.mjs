// Money and quantities of fal.ai's bill: whole numbers of billionths (nano-USD,
// nano-units) as BigInt. A sum of any number of them is exact.

const DIGITS = 9;
const ONE = 10n ** BigInt(DIGITS);
const DECIMAL = /^(-?)(\d+)(?:\.(\d*))?(?:e([+-]?\d{1,2}))?$/i;

/** Of a number of JSON or its text; what it is names it in the error. */
export function nano(value, what = 'a number') {
  const [, sign, whole, fraction = '', exponent = '0'] = DECIMAL.exec(String(value)) ?? [];
  if (whole === undefined) throw new Error(`${what} must be a decimal number, not ${JSON.stringify(value)}`);
  const scale = DIGITS - fraction.length + Number(exponent);
  const digits = BigInt(whole + fraction);
  const unit = 10n ** BigInt(Math.abs(scale));
  if (scale < 0 && digits % unit !== 0n) throw new Error(`${what} has more than ${DIGITS} decimals: ${value}`);
  const size = scale < 0 ? digits / unit : digits * unit;
  return sign ? -size : size;
}

/** The quotient to the nearest whole number, halves away from zero. */
export function divide(dividend, divisor) {
  const negative = dividend < 0n !== divisor < 0n;
  const [n, d] = [dividend, divisor].map((value) => (value < 0n ? -value : value));
  const quotient = (2n * n + d) / (2n * d);
  return negative ? -quotient : quotient;
}

export const multiply = (a, b) => divide(a * b, ONE);

export function asText(value) {
  const size = value < 0n ? -value : value;
  const fraction = String(size % ONE).padStart(DIGITS, '0').replace(/0+$/, '');
  return `${value < 0n ? '-' : ''}${size / ONE}${fraction && `.${fraction}`}`;
}

/** For JSON. A double has 15 exact digits: what needs more is an error here, not a wrong sum in a test. */
export function asNumber(value) {
  const number = Number(asText(value));
  if (nano(number) !== value) throw new Error(`${asText(value)} is not exact as a number of JSON`);
  return number;
}

/** Billionths themselves, for JSON. */
export function asInteger(value) {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || -value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error(`${value} is not exact as a number of JSON`);
  return Number(value);
}

export const sum = (values) => values.reduce((a, b) => a + b, 0n);
