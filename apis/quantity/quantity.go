// Package quantity parses and formats amounts of CPU and memory, for App manifests, [X-Fleet] options and flags.
package quantity

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

const (
	cpuForm    = "write cores such as 2 or 0.5, or millicores such as 500m"
	memoryForm = "write bytes, or a number with K, M, G or T (powers of 1024) such as 256M"
)

var errFine = errors.New("finer than one millicore")

// ParseCPU parses cores ("0.5", "2") or millicores ("500m") and returns millicores. Its errors say what is wrong and
// what to write, but do not quote s: the caller does.
func ParseCPU(s string) (int64, error) {
	number, thousandths := strings.CutSuffix(s, "m")
	unit := int64(1000)
	if thousandths {
		unit = 1
	}
	n, exact, err := scale(number, unit)
	if err == nil && !exact {
		err = errFine
	}
	if err != nil {
		return 0, fmt.Errorf("not an amount of CPU (%w): %s", err, cpuForm)
	}
	return n, nil
}

// suffixes are systemd's, in powers of 1024. The trailing i of Kubernetes (Mi) is accepted and changes nothing; powers
// of 1000 (its k, M, G) are not supported.
const suffixes = "BKMGTPE"

// ParseMemory parses an amount such as 256M, 256Mi or 1.5G and returns bytes, rounded down. Its errors are like
// ParseCPU's.
func ParseMemory(s string) (int64, error) {
	number, suffix := s, ""
	if end := strings.LastIndexAny(s, "0123456789.") + 1; end > 0 {
		number, suffix = s[:end], s[end:]
		if named := strings.TrimLeft(suffix, " \t"); named != "" {
			suffix = named
		}
	}
	unit, known := memoryUnit(suffix)
	n, _, err := scale(number, unit)
	switch {
	case err != nil:
		return 0, fmt.Errorf("not an amount of memory (%w): %s", err, memoryForm)
	case !known:
		return 0, fmt.Errorf("not an amount of memory (unknown suffix %s): %s", quote(suffix), memoryForm)
	}
	return n, nil
}

func memoryUnit(suffix string) (unit int64, known bool) {
	if suffix == "" {
		return 1, true
	}
	power := strings.IndexByte(suffixes, suffix[0])
	if power < 0 || suffix[1:] != "" && (power == 0 || suffix[1:] != "i") {
		return 1, false
	}
	return 1 << (10 * power), true
}

// scale multiplies a plain decimal number such as 12 or 0.5 by unit and rounds down. exact reports whether nothing was
// lost.
func scale(number string, unit int64) (n int64, exact bool, err error) {
	whole, fraction, point := strings.Cut(number, ".")
	switch {
	case number == "":
		return 0, false, errors.New("no number")
	case number[0] == '-':
		return 0, false, errors.New("negative")
	case !digits(whole) || point && !digits(fraction):
		return 0, false, errors.New("not a plain number")
	}
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	const longest = 30 // digits: more than any amount needs, and cheap to compute with
	if len(whole)+len(fraction) > longest {
		return 0, false, errors.New("too many digits")
	}
	value, _ := new(big.Rat).SetString("0" + whole + "." + fraction + "0")
	value.Mul(value, new(big.Rat).SetInt64(unit))
	rounded := new(big.Int).Quo(value.Num(), value.Denom())
	if !rounded.IsInt64() {
		return 0, false, errors.New("too large")
	}
	return rounded.Int64(), value.IsInt(), nil
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// quote quotes at most 20 bytes of s, which keeps messages short.
func quote(s string) string {
	const limit = 20
	if len(s) > limit {
		return strconv.Quote(strings.ToValidUTF8(s[:limit], "")) + "..."
	}
	return strconv.Quote(s)
}

// FormatCores formats millicores as cores: 0.5.
func FormatCores(thousandths int64) string { return decimal(thousandths, 1000, 1000) }

// FormatMemory formats bytes exactly, with the largest suffix possible. T is the largest that systemd documents for
// MemoryMax=. The format must stay stable: a changed unit file restarts its units.
func FormatMemory(bytes int64) string {
	for power := 4; power > 0; power-- {
		if unit := int64(1) << (10 * power); bytes >= unit && bytes%unit == 0 {
			return strconv.FormatInt(bytes/unit, 10) + suffixes[power:power+1]
		}
	}
	return strconv.FormatInt(bytes, 10)
}

// ApproximateMemory formats bytes for display, with the largest suffix and one decimal, rounded down.
func ApproximateMemory(bytes int64) string {
	for power := 4; power > 0; power-- {
		if unit := int64(1) << (10 * power); bytes >= unit {
			return decimal(bytes, unit, 10) + suffixes[power:power+1]
		}
	}
	return strconv.FormatInt(bytes, 10)
}

// decimal formats n/unit in steps of 1/parts, rounded down, without trailing zeros.
func decimal(n, unit, parts int64) string {
	s := strconv.FormatInt(n/unit, 10)
	if part := n % unit * parts / unit; part > 0 {
		s += "." + strings.TrimRight(strconv.FormatInt(parts+part, 10)[1:], "0")
	}
	return s
}
