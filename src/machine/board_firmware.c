/* What firmware reads and where it lies. */
#include "devices/fwcfg/fw_cfg.h"
#include "machine/board_rows.h"

CHIP_DESTROY_RESET(, fw_cfg)

int fw_cfg_row_create(struct board *b, struct error *err)
{
    const struct machine_config *config = &b->machine->config;
    int rc = fw_cfg_create(&b->fw_cfg, &b->env, err);
    if (rc)
        return rc;
    rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_RAM_SIZE, ram_layout_size(&b->ram), 8);
    if (!rc)
        rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_NB_CPUS, config->cpus, 2);
    if (!rc)
        rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_MAX_CPUS, config->cpus, 2);
    if (!rc)
        rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_NOGRAPHIC, 1, 2);
    return rc ? error_set(err, -rc, "out of memory for the firmware configuration device") : 0;
}
