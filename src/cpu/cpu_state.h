/* The saved state of one vCPU. */
#ifndef RING3_CPU_CPU_STATE_H
#define RING3_CPU_CPU_STATE_H

#include "cpu/cpu.h"

extern const struct state_desc vcpu_state_desc; /* "vcpu", the device is the struct vcpu */

#endif
