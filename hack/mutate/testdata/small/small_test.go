package small

import "testing"

func TestSmall(t *testing.T) {
	for _, ok := range []bool{Larger(2, 1), !Larger(1, 1), !Larger(1, 2), Clamp(5, 1, 9) == 5, Clamp(0, 1, 9) == 1, Sum(0, 0) == 0, Join("a", "b") == "a-b"} {
		if !ok {
			t.Error("wrong")
		}
	}
}

func TestCount(t *testing.T) {
	if Count(2) != 2 || Until(2) != 2 {
		t.Error("wrong")
	}
}
