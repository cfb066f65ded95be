package v1

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseCPU reads an amount of CPU, "0.5" or "2" cores or "500m", and returns thousandths of a core.
func ParseCPU(s string) (int64, error) {
	const form = "write cores such as 2 or 0.5, or thousandths such as 500m"
	if digits, ok := strings.CutSuffix(s, "m"); ok {
		n, err := parseDecimal(digits, 1, 1)
		if err != nil {
			return 0, fmt.Errorf("%s is not an amount of CPU (%w): %s", quoteShort(s), err, form)
		}
		return n, nil
	}
	n, err := parseDecimal(s, 1000, 1000)
	if err != nil {
		return 0, fmt.Errorf("%s is not an amount of CPU (%w): %s", quoteShort(s), err, form)
	}
	return n, nil
}

var memorySuffixes = map[string]int64{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

// ParseMemory reads an amount of memory, such as 256M or 1.5G, and returns bytes. Suffixes are powers of 1024, as
// systemd has it (systemd.resource-control(5)); an i behind them, as Kubernetes writes it, changes nothing.
func ParseMemory(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTi")
	suffix := strings.TrimSuffix(s[len(digits):], "i")
	unit, ok := memorySuffixes[suffix]
	err := error(nil)
	if !ok || suffix == "" && digits != s {
		err = fmt.Errorf("unknown suffix %s", s[len(digits):])
	}
	n := int64(0)
	if err == nil {
		n, err = parseDecimal(digits, unit, unit)
	}
	if err != nil {
		return 0, fmt.Errorf("%s is not an amount of memory (%w): write bytes, or a number with K, M, G or T such as 256M", quoteShort(s), err)
	}
	return n, nil
}

// parseDecimal reads a decimal number that is not negative and returns it times unit. Fractions are refused where
// they are finer than a unit is divisible.
func parseDecimal(s string, unit, divisible int64) (int64, error) {
	whole, fraction, dotted := strings.Cut(s, ".")
	switch {
	case strings.HasPrefix(s, "-"):
		return 0, fmt.Errorf("it is negative")
	case whole == "" || dotted && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "":
		return 0, fmt.Errorf("it is not a number")
	case dotted && divisible == 1 || len(fraction) > 3:
		return 0, fmt.Errorf("its fraction is too fine")
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > math.MaxInt64/unit-1 {
		return 0, fmt.Errorf("it is too large")
	}
	n *= unit
	if dotted {
		parts, _ := strconv.ParseInt((fraction + "00")[:3], 10, 64)
		n += parts * divisible / 1000
	}
	return n, nil
}

// FormatMemory writes bytes with the largest suffix that loses nothing.
func FormatMemory(bytes int64) string {
	for _, suffix := range []string{"T", "G", "M", "K"} {
		if unit := memorySuffixes[suffix]; bytes >= unit && bytes%unit == 0 {
			return strconv.FormatInt(bytes/unit, 10) + suffix
		}
	}
	return strconv.FormatInt(bytes, 10)
}
