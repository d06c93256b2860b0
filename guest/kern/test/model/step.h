/*
 * step.h: read before each of the LibOS's sources that a side of the model is made of. Every access to what members share becomes a
 * step, at which the other side may be let run; hypercalls are the model's; the family area is small, and a pipe has one page.
 */
#ifndef STEP_H
#define STEP_H

#include "family.h"
#include "hyper.h"
#include "model.h"
#include "pipe.h"

#define LOOK_AT(p) look_at(__FILE__, __LINE__, (const volatile void *)(p))
#define CHANGE(p) change(__FILE__, __LINE__, (const volatile void *)(p))
#define __atomic_load_n(p, ...) (LOOK_AT(p), __atomic_load_n(p, __VA_ARGS__))
#define __atomic_store_n(p, ...) (CHANGE(p), __atomic_store_n(p, __VA_ARGS__))
#define __atomic_exchange_n(p, ...) (CHANGE(p), __atomic_exchange_n(p, __VA_ARGS__))
#define __atomic_compare_exchange_n(p, ...) (CHANGE(p), __atomic_compare_exchange_n(p, __VA_ARGS__))
#define __atomic_fetch_add(p, ...) (CHANGE(p), __atomic_fetch_add(p, __VA_ARGS__))
#define __atomic_fetch_and(p, ...) (CHANGE(p), __atomic_fetch_and(p, __VA_ARGS__))
#define __atomic_fetch_or(p, ...) (CHANGE(p), __atomic_fetch_or(p, __VA_ARGS__))
#define __builtin_ia32_pause() give_way()

#define hyper_sched(op, arg) model_sched(op)
#define hyper_event_channel(op, arg) model_event_channel(op, arg)

/* Each side has a control area of its own, and both have one family area. */
#undef KX_CONTROL_VA
#define KX_CONTROL_VA ((uintptr_t)&own_control)
#undef KX_SHARED_VA
#define KX_SHARED_VA ((uintptr_t)&own_info)
#undef KX_FAMILY_VA
#define KX_FAMILY_VA ((uintptr_t)model_area)

#undef KX_MEMBERS
#define KX_MEMBERS 64
#undef KX_FAMILY_PAGES
#define KX_FAMILY_PAGES AREA_PAGES
#undef PIPE_PAGES
#define PIPE_PAGES 1

extern struct kx_control own_control;
extern struct shared_info own_info;

#endif
