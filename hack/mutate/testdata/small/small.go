// Package small has something of everything that mutate changes.
package small

import (
	"log"
	"strings"
)

// Larger is tested with equal numbers, too.
func Larger(a, b int) bool {
	if a > b {
		return true
	}
	return false
}

// Clamp has a branch that no test runs.
func Clamp(n, least, most int) int {
	switch {
	case n < least:
		return least
	case n > most:
		n = most
	}
	return n
}

// Sum is tested with zeros only.
func Sum(a, b int) int { return a + b }

// Join has texts, which are not subtracted, and a log, which is left alone.
func Join(a, b string) string {
	log.SetFlags(0)
	if strings.Contains(a, b) {
		log.Println("contained", len(a)-len(b))
	}
	joined := a
	joined += "-"
	return joined + b
}

// Count does not end where its condition never holds.
func Count(n int) int {
	count := 0
	for i := 0; ; i++ {
		if i >= n && n >= 0 {
			break
		}
		count++
	}
	return count
}

// Must ends a program, and a function that has no return.
func Must(ok bool) int {
	if ok {
		return 1
	}
	panic("not ok")
}

// Until does not end where it does not count.
func Until(n int) int {
	i := 0
	for i != n {
		i++
	}
	return i
}
