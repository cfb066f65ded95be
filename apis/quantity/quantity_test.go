package quantity

import (
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseCPU(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0m": 0, "0.0": 0, "1": 1000, "007": 7000, "64": 64000, "0.5": 500, "1.25": 1250, "1.2500": 1250, "0.001": 1,
		"500m": 500, "1500m": 1500, "500.0m": 500, strings.Repeat("0", 40) + "1": 1000,
		"9223372036854775.807": math.MaxInt64, "9223372036854775807m": math.MaxInt64,
	} {
		got, err := ParseCPU(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for text, why := range map[string]string{
		"": "no number", "m": "no number", "-1": "negative", "-0.5": "negative", "+1": "not a plain number", "1.": "not a plain number",
		".5": "not a plain number", "1..5": "not a plain number", "1e3": "not a plain number", "1/2": "not a plain number",
		"0x1": "not a plain number", "1_0": "not a plain number", "NaN": "not a plain number", "much": "not a plain number",
		"1 ": "not a plain number", " 1": "not a plain number", "1 m": "not a plain number", "1M": "not a plain number", "50%": "not a plain number",
		"0.0001": "finer than one millicore", "0.5m": "finer than one millicore",
		"9223372036854775.808": "too large", "9223372036854775808m": "too large", strings.Repeat("1", 31): "too many digits",
	} {
		_, err := ParseCPU(text)
		require.EqualError(t, err, "not an amount of CPU ("+why+"): write cores such as 2 or 0.5, or millicores such as 500m", text)
	}
}

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0G": 0, "1": 1, "1024": 1024, "1.5": 1, "0.5": 0, "1024B": 1024, "10 B": 10,
		"1K": 1 << 10, "1M": 1 << 20, "1G": 1 << 30, "1T": 1 << 40, "1P": 1 << 50, "1E": 1 << 60,
		"1Ki": 1 << 10, "256Mi": 256 << 20, "1Gi": 1 << 30, "0.5Ti": 1 << 39, "1Pi": 1 << 50, "7Ei": 7 << 60,
		"256M": 256 << 20, "1.5G": 3 << 29, "0.3K": 307, "1." + strings.Repeat("1", 29): 1, "1 G": 1 << 30, "1 \tGi": 1 << 30, "00.50K": 512,
		"9223372036854775807": math.MaxInt64, "7.999999999999999999E": math.MaxInt64 - 1,
	} {
		got, err := ParseMemory(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for text, why := range map[string]string{
		"": "no number", "M": "not a plain number", "-1": "negative", "-1M": "negative", "+1M": "not a plain number", "1.K": "not a plain number",
		".5K": "not a plain number", "1e3": "not a plain number", "0x10": "not a plain number", "1 1": "not a plain number", " 1": "not a plain number",
		"much": "not a plain number", "infinity": "not a plain number", "NaN": "not a plain number",
		"1k": `unknown suffix "k"`, "1m": `unknown suffix "m"`, "1X": `unknown suffix "X"`, "1i": `unknown suffix "i"`, "1Bi": `unknown suffix "Bi"`,
		"1MM": `unknown suffix "MM"`, "1MB": `unknown suffix "MB"`, "1MiB": `unknown suffix "MiB"`, "1Kii": `unknown suffix "Kii"`, "1iM": `unknown suffix "iM"`,
		"50%": `unknown suffix "%"`, "1M ": `unknown suffix "M "`, "1 ": `unknown suffix " "`, "1\n": `unknown suffix "\n"`,
		"1" + strings.Repeat("é", 99): `unknown suffix "` + strings.Repeat("é", 10) + `"...`,
		"8E":                          "too large", "9223372036854775808": "too large", "9999999T": "too large", strings.Repeat("1", 31) + "K": "too many digits", "1." + strings.Repeat("1", 30): "too many digits",
	} {
		_, err := ParseMemory(text)
		require.EqualError(t, err, "not an amount of memory ("+why+"): write bytes, or a number with K, M, G or T (powers of 1024) such as 256M", text)
	}
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1: "0.001", 50: "0.05", 500: "0.5", 1000: "1", 1250: "1.25", 64000: "64", math.MaxInt64: "9223372036854775.807"} {
		require.Equal(t, want, FormatCores(n))
	}
	for n, want := range map[int64][2]string{ // exact, approximate
		0: {"0", "0"}, 1023: {"1023", "1023"}, 1024: {"1K", "1K"}, 1025: {"1025", "1K"}, 1536: {"1536", "1.5K"}, 256 << 20: {"256M", "256M"},
		3 << 29: {"1536M", "1.5G"}, 1<<40 - 1: {"1099511627775", "1023.9G"}, 1 << 40: {"1T", "1T"}, 1 << 60: {"1048576T", "1048576T"},
		math.MaxInt64: {"9223372036854775807", "8388607.9T"},
	} {
		require.Equal(t, want, [2]string{FormatMemory(n), ApproximateMemory(n)})
	}
}

func TestParseUndoesFormat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, math.MaxInt64).Draw(t, "n") >> rapid.IntRange(0, 62).Draw(t, "small")
		n = n >> 10 << rapid.SampledFrom([]int{0, 10}).Draw(t, "whole")
		cpu, err := ParseCPU(FormatCores(n))
		require.NoError(t, err)
		require.Equal(t, n, cpu)
		memory, err := ParseMemory(FormatMemory(n))
		require.NoError(t, err)
		require.Equal(t, n, memory)
		about, err := ParseMemory(ApproximateMemory(n))
		require.NoError(t, err)
		require.LessOrEqual(t, about, n)
		require.LessOrEqual(t, n-about, n/10+1)
	})
}

// A model of the grammar: two patterns and exact arithmetic.
var (
	cpuPattern    = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(m?)$`)
	memoryPattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(?:[ \t]*([BKMGTPE]|[KMGTPE]i))?$`)
	units         = map[string]int64{"m": 1, "": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
)

func model(pattern *regexp.Regexp, text string, bare int64, whole bool) (int64, bool) {
	match := pattern.FindStringSubmatch(text)
	if match == nil {
		return 0, false
	}
	unit := units[strings.TrimSuffix(match[2], "i")]
	if match[2] == "" {
		unit = bare
	}
	value, _ := new(big.Rat).SetString(match[1])
	value.Mul(value, new(big.Rat).SetInt64(unit))
	if whole && !value.IsInt() {
		return 0, false
	}
	n := new(big.Int).Div(value.Num(), value.Denom())
	return n.Int64(), n.IsInt64()
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"0", "1.5", "500m", "0.5m", "256Mi", "1.5Gi", "0.3Ki", "1P", "1024B", "1 G", "7.99Ei", "-1", "1e3", "1k", ".5", "1.", "00.10"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 30 { // the model has no limit on digits
			return
		}
		for _, c := range []struct {
			parse   func(string) (int64, error)
			pattern *regexp.Regexp
			bare    int64
			whole   bool
		}{{ParseCPU, cpuPattern, 1000, true}, {ParseMemory, memoryPattern, 1, false}} {
			got, err := c.parse(text)
			want, ok := model(c.pattern, text, c.bare, c.whole)
			require.Equal(t, ok, err == nil, "%q: %v", text, err)
			if ok {
				require.Equal(t, want, got)
			} else {
				require.Zero(t, got)
				require.Less(t, len(err.Error()), 250)
			}
		}
	})
}
