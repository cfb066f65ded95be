package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// commitTime is when the commit was made, or SOURCE_DATE_EPOCH.
func commitTime(top string) (time.Time, error) {
	seconds := os.Getenv("SOURCE_DATE_EPOCH")
	if seconds == "" {
		var err error
		if seconds, err = git(top, "log", "-1", "--format=%ct"); err != nil {
			return time.Time{}, fmt.Errorf("the commit's time is not known: set SOURCE_DATE_EPOCH: %w", err)
		}
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %q is not a number of seconds", seconds)
	}
	return time.Unix(n, 0).UTC(), nil
}

// describe is the version of the packages: that of the tag that "git describe" finds, or 0.0.0, and what came after it.
func describe(top string, commit time.Time) (string, error) {
	if described, err := git(top, "describe", "--tags", "--long", "--dirty", "--abbrev=12", "--match", "v[0-9]*"); err == nil {
		return fromTag(described)
	}
	hash, err := git(top, "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*")
	if err != nil {
		return "", fmt.Errorf("there is no version: give -version: %w", err)
	}
	return fromHash(hash, commit), nil
}

// described is what "git describe --long --dirty" says: tag, commits since, hash.
var described = regexp.MustCompile(`^v([0-9][0-9A-Za-z.]*)(?:-([0-9A-Za-z.-]+))?-([0-9]+)-g([0-9a-f]+)(-dirty)?$`)

// fromTag makes a version of a tag as both dpkg and rpm sort it: v1.2.0-rc.1 before v1.2.0, commits after a tag behind it.
func fromTag(text string) (string, error) {
	m := described.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("git describe says %q, which is no version: have a tag such as v1.2.3 or v1.2.3-rc.1, or give -version", text)
	}
	version := m[1]
	if m[2] != "" {
		version += "~" + strings.ReplaceAll(m[2], "-", ".")
	}
	if m[3] != "0" {
		version += "+" + m[3] + ".g" + m[4]
	}
	if m[5] != "" {
		version += "+dirty"
	}
	return version, nil
}

// fromHash is the version where there is no tag yet. The commit's time has later ones sort behind earlier ones.
func fromHash(hash string, commit time.Time) string {
	hash, dirty := strings.CutSuffix(hash, "-dirty")
	version := "0.0.0+git" + commit.Format("20060102150405") + "." + hash
	if dirty {
		version += "+dirty"
	}
	return version
}

func git(top string, args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-C", top}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
