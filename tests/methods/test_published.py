from headstart.methods.published import published_cells


def test_the_cells_of_retinanets_levels_and_of_p2():
    assert [published_cells(s) for s in (4, 8, 16, 32, 64, 128)] == [67200, 16800, 4200, 1050, 273, 77]
