package unitfile

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// ParseCPU reads an amount of processor time: "500m" (millicores) or "0.5" (cores), and gives millicores.
func ParseCPU(s string) (int64, error) {
	number, milli := strings.CutSuffix(s, "m")
	scale := int64(1000)
	if milli {
		scale = 1
	}
	n, err := scaled(number, scale)
	switch {
	case errors.Is(err, errInexact):
		return 0, fmt.Errorf("CPU %s is finer than a thousandth of a core", excerpt(s))
	case err != nil:
		return 0, fmt.Errorf("CPU %s: write cores (0.5) or thousandths of a core (500m)", excerpt(s))
	}
	return n, nil
}

// ParseMemory reads an amount of memory in bytes, with systemd's suffixes B, K, M, G, T, P and E of base 1024; "1.5G" is
// allowed.
func ParseMemory(s string) (int64, error) {
	number, scale := s, int64(1)
	if s != "" {
		if i := strings.IndexByte("BKMGTPE", s[len(s)-1]); i >= 0 {
			number, scale = strings.TrimRight(s[:len(s)-1], " \t"), 1<<(10*i)
		}
	}
	n, err := scaled(number, scale)
	if err != nil && !errors.Is(err, errInexact) {
		return 0, fmt.Errorf("memory %s: write bytes, or a number with K, M, G or T (base 1024), such as 128M", excerpt(s))
	}
	return n, nil
}

var (
	errInexact = errors.New("not a whole number")
	errNumber  = errors.New("not a positive decimal number in range")
)

// scaled gives number*scale of a plain decimal number such as 12 or 0.5, exactly; with errInexact it is rounded down.
func scaled(number string, scale int64) (int64, error) {
	whole, fraction, point := strings.Cut(number, ".")
	const longest = 30 // digits; no amount needs more, and the arithmetic stays cheap
	if !digits(whole) || point && !digits(fraction) || len(number) > longest {
		return 0, errNumber
	}
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, errNumber
	}
	value.Mul(value, new(big.Rat).SetInt64(scale))
	n := new(big.Int).Quo(value.Num(), value.Denom())
	if !n.IsInt64() || value.Sign() == 0 {
		return 0, errNumber
	}
	if !value.IsInt() {
		return n.Int64(), errInexact
	}
	return n.Int64(), nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %s: write numbers from 1 to 65535, separated by white space", excerpt(s))
	}
	return int(n), nil
}
