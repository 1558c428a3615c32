package console

import (
	"cmp"
	"strconv"
	"strings"
)

// compareVersions orders versions as plans have them, oldest first. What is not
// a version, such as the word for a missing one, comes before all.
func compareVersions(a, b string) int {
	an, astage, acount := splitVersion(a)
	bn, bstage, bcount := splitVersion(b)
	for i := range an {
		if c := cmp.Compare(an[i], bn[i]); c != 0 {
			return c
		}
	}
	if c := cmp.Compare(astage, bstage); c != 0 {
		return c
	}
	if c := cmp.Compare(acount, bcount); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// stages are what comes before a release, in order.
var stages = map[string]int{"dev": 1, "alpha": 2, "beta": 3, "rc": 4, "": 5}

func splitVersion(s string) (numbers [4]int, stage, count int) {
	base, suffix, _ := strings.Cut(s, "-")
	for i, part := range strings.SplitN(base, ".", len(numbers)) {
		n, err := strconv.Atoi(part)
		if err != nil {
			return [4]int{-1}, 0, 0
		}
		numbers[i] = n
	}
	word, n, _ := strings.Cut(suffix, ".")
	count, _ = strconv.Atoi(n) // none counts as 0
	return numbers, stages[word], count
}
