# What the kqueue variant of poller.c needs to be built: nothing where the
# system has kqueue, on Linux what stands in for it here.  Included by the top
# Makefile (KQUEUE=1) and by test/unit/unit.mk.

ifeq ($(shell uname -s),Linux)
KQUEUE_CPPFLAGS = -Itest/kqueue
KQUEUE_SOURCES  = test/kqueue/kqueue.c
endif
