package sim

import "testing"

func TestACrashOfTheRaceDetectorIsTold(t *testing.T) {
	t.Parallel()
	for out, want := range map[string]bool{
		"SIGSEGV: segmentation violation\nPC=0x4379b0 m=0 sigcode=1 addr=0x7f4580300000\n":                                           true,
		"=== RUN\nSIGSEGV: segmentation violation\nPC=0x4379b0 m=0\n":                                                                true,
		"ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346 \"((thr))\"\n":                                                              true,
		"panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation code=0x1]": false,
		"WARNING: DATA RACE\n": false,
		"[rapid] failed":       false,
	} {
		if got := crashed([]byte(out)); got != want {
			t.Errorf("%q: got %v, want %v", out, got, want)
		}
	}
}
